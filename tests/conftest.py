"""What several test files share: the folder of research data, seeded pictures, and a browser."""

import os
import shutil
import signal
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("OMP_NUM_THREADS", "2")  # the pictures are small: more threads only get in each other's way

import numpy as np  # noqa: E402 - the environment is read when the libraries are loaded
import pytest  # noqa: E402

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell has ignored by what it starts with "&"
SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data():
    """The folder of public test images; tests that need it are skipped where it is missing."""
    if not SHARED.is_dir():
        pytest.skip(f"the folder {SHARED} is missing")
    return SHARED


def smooth_with_detail(height, width, channels=3, depth=8, seed=0):
    """(height, width, channels) uint8 or uint16: soft shading, waves and a little noise, from 5 to 95 % of the peak."""
    generator = np.random.default_rng((seed, height, width, channels))
    y, x = np.mgrid[0:height, 0:width, 0:channels][:2] / 10
    shift = generator.uniform(0, 6, (4, channels))
    shading = np.sin(x / 3 + shift[0]) + np.cos(y / 4 + shift[1])
    detail = np.sin(3 * x + 2 * y + shift[2]) * np.sin(y - x + shift[3])
    values = 0.5 + 0.15 * shading + 0.08 * detail + 0.02 * generator.standard_normal(shading.shape)
    return np.round(np.clip(values, 0.05, 0.95) * (2**depth - 1)).astype(f"u{depth // 8}")


@pytest.fixture(scope="session")
def make_pixels():
    """The function `smooth_with_detail(height, width, channels=3, depth=8, seed=0)`."""
    return smooth_with_detail


@pytest.fixture(autouse=True)
def same_threads():
    """PyTorch's sums depend on the number of threads: what a test asks for with --threads ends with it."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """A headless Chromium; tests that need it are skipped where it or its driver is missing."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("chromium or its chromedriver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    yield browser
    browser.quit()
