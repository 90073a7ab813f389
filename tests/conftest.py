"""For all tests: a run that was started in the background of a shell ignores Ctrl-C, and so would every program that a test starts and interrupts."""

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
