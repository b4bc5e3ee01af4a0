"""What holds for every test."""

import signal

# Whoever runs the tests in the background may have SIGINT ignored, which every child would inherit for good.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
