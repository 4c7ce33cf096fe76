"""`plait serve` in a process of its own."""

import re
import signal
import subprocess
import sys
import threading
import time


class Program:
    """`plait serve` in a process."""

    def __init__(self, *arguments):
        command = [sys.executable, "-m", "plait", "serve", *map(str, arguments)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.lines = []
        self.port = 0
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        end = time.monotonic() + 60
        while not self.port and self.process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line)
            if found := re.match(r"http://127\.0\.0\.1:(\d+) ", line):
                self.port = int(found[1])

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stderr.close()

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(20)
