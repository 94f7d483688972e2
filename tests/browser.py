"""A page in a browser, for the tests that need one."""

import json


class Window:
    """The page at `address` in a selenium `browser`, in a window of that size."""

    def __init__(self, browser, address, width=1200, height=800, density=1):
        metrics = {"width": width, "height": height, "deviceScaleFactor": density, "mobile": width < 600}
        self.browser = browser
        self.tell("Emulation.setDeviceMetricsOverride", **metrics)
        for log in ("performance", "browser"):
            browser.get_log(log)  # of the page before
        browser.get(address)

    def tell(self, command, **parameters):
        return self.browser.execute_cdp_cmd(command, parameters)

    def find(self, selector):
        return self.browser.find_element("css selector", selector)

    def ask(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def wait(self, script):
        """Until `script` returns something true, which it returns."""
        from selenium.webdriver.support.wait import WebDriverWait

        return WebDriverWait(self.browser, 120, poll_frequency=0.05).until(
            lambda browser: browser.execute_script(script)
        )

    @property
    def requests(self):
        """The addresses of all that was asked for since the last time."""
        events = [json.loads(row["message"])["message"] for row in self.browser.get_log("performance")]
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
