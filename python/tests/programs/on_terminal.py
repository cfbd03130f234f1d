"""Runs another program on this terminal, as a shell would: its Ctrl-C interrupts it."""

import os
import sys

if __name__ == "__main__":
    # The session has no terminal yet, so this one becomes its own.
    os.close(os.open(sys.argv[1], os.O_RDWR))
    os.execv(sys.executable, [sys.executable, os.path.join(os.path.dirname(__file__), sys.argv[2]), *sys.argv[3:]])
