"""The columns of a file of jets, named as JetClass names its branches (Zenodo 6619768)."""

MOMENTUM = ("part_px", "part_py", "part_pz", "part_energy")  # GeV
TRACK = ("part_d0val", "part_d0err", "part_dzval", "part_dzerr")  # mm, zero of neutral particles
FLAGS = ("part_isChargedHadron", "part_isNeutralHadron", "part_isPhoton", "part_isElectron", "part_isMuon")
AXIS = ("jet_eta", "jet_phi")  # rad
LABEL_PREFIX = "label_"  # of one column of zeros and ones for each class
