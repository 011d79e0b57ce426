"""A real browser for tests of the page, and what a user does in it."""

import shutil
import tempfile
import time
from pathlib import Path

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver (Debian: chromium, chromium-driver)"
)


def wait_for(condition, what, seconds=90):
    """What a condition gives as soon as it is true; exceptions mean that it is not yet."""
    end, last = time.monotonic() + seconds, None
    while time.monotonic() < end:
        try:
            if found := condition():
                return found
        except Exception as error:
            last = error
        time.sleep(0.2)
    raise TimeoutError(f"{what} did not happen in {seconds} seconds ({last})")


class User:
    """Somebody with a browser of their own on the page at `url`, which is there with a certain button."""

    def __init__(self, url, width=1280, height=1000, profile=None, button="train-start"):
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        flags = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        flags += [f"--window-size={width},{height}"] + ([f"--user-data-dir={profile}"] if profile else [])
        for flag in flags:
            options.add_argument(flag)
        self.downloads = Path(tempfile.mkdtemp(prefix="downloads-"))
        options.add_experimental_option("prefs", {"download.default_directory": str(self.downloads)})
        self.driver, self.url = webdriver.Chrome(options=options, service=Service(DRIVER)), url
        self.button = button
        self.open()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.driver.quit()

    def open(self):
        self.driver.get(self.url)
        wait_for(lambda: self.find(self.button).is_displayed(), "the page")
        wait_for(
            lambda: self.driver.execute_script("return localStorage.getItem('lyra-visitor')"), "the visitor's name"
        )

    def find(self, name):
        return self.driver.find_element("id", name)

    def text(self, name):
        return self.find(name).text

    def tab(self, title):
        self.driver.find_element("xpath", f"//button[@role='tab'][normalize-space()='{title}']").click()
        time.sleep(0.5)

    def click(self, name):
        button = wait_for(lambda: self.find(name).is_displayed() and self.find(name), name)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'}); arguments[0].click()", button)

    def type(self, name, text):
        field = self.find(name).find_element("css selector", "textarea, input")
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", field)
        field.send_keys("\ue009a\ue009")  # Control and A, to replace what is there
        field.send_keys(text or "\ue017")  # or delete it

    def choose(self, name, value):
        """Types into a list with a field of its own."""
        self.type(name, value + "\ue007")  # and Enter

    def upload(self, name, *files):
        self.find(name).find_element("css selector", "input[type=file]").send_keys("\n".join(map(str, files)))
        wait_for(lambda: files[-1].stem in self.text(name), f"the upload of {files[-1].name}")

    def wait_until(self, name, *texts, seconds=120):
        """Waits for a text; returns the first one that comes."""
        return wait_for(
            lambda: next((each for each in texts if each in self.text(name)), None), f"{name}: {texts}", seconds
        )

    def downloaded(self, name):
        """The bytes behind a button."""
        before = set(self.downloads.iterdir())
        self.click(name)
        return wait_for(lambda: self._new_file(before), f"the download of {name}").read_bytes()

    def _new_file(self, before):
        new = set(self.downloads.iterdir()) - before
        return next((file for file in new if not file.name.startswith(".") and file.suffix != ".crdownload"), None)
