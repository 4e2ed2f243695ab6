"""A Python kernel, the broker between it and its clients, and a client for the terminal.

Run from the root of the project::

    python -m examples.ide_kernel.demo             a tour that needs no answers
    python -m examples.ide_kernel.client           an interactive session
    echo "print(6*7)" | python -m examples.ide_kernel.client
    python -m examples.ide_kernel.client examples/scripts/planets.py 10

One process of each kind, and as many clients as you like::

    client  ---\\
                 broker  ---  kernel
    client  ---/

Each kernel has a network of its own, in which the broker is the node in the middle. What
travels there is listed in slots.py, a good place to begin reading. Then come

==================  ===========================================================
execution.py        runs code as the interactive interpreter of Python does
introspection.py    completion and signatures
kernel.py           the process with the interpreter: the two above on channels
kernel_process.py   that process, as the broker sees it
broker.py           starts, interrupts, restarts and ends kernels; relays
session.py          a client's side of the network of one kernel
private_broker.py   a broker that a client starts for itself
client.py           the command, which picks one of the two front ends
pipe.py             ... for code from a file or a pipe
terminal.py         ... for somebody at a terminal, with prompt_toolkit
demo.py             the tour, which tests what it shows
==================  ===========================================================

Process groups and signals as they are used here exist on POSIX systems.
"""
