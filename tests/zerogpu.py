"""A stand-in for `spaces.GPU`: like `spaces` 0.51 it forks a worker, and pickles its arguments and values."""

import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import gradio as gr

FORK = multiprocessing.get_context("fork") if "fork" in multiprocessing.get_all_start_methods() else None
VALUE, ERROR, END, ABORTED = range(4)


class ZeroGPU:
    """One worker, forked at the first call and used again.

    Attributes:
        sizes: bytes of each message, either way.
        asked: durations asked for, in seconds.
        refusal: what is raised instead of lending a GPU; None to lend it.
        process: the worker; None before the first call.
    """

    def __init__(self) -> None:
        self.sizes, self.asked, self.refusal, self.process = [], [], None, None
        (self.arguments, self.theirs), self.stop = FORK.Pipe(), FORK.Event()

    def GPU(self, duration):
        """The decorator, for generator functions alone."""

        def decorate(task):
            def call(*arguments):
                if self.refusal:
                    raise self.refusal
                self.asked.append(duration(*arguments))
                if self.process is None:
                    self.process = FORK.Process(target=self.work, args=(task,), daemon=True)
                    self.process.start()
                    self.theirs.close()  # so that the end of the worker ends the wait for its messages
                self.send(self.arguments, arguments)
                while True:
                    kind, value = self.receive()
                    if kind == END:
                        return
                    if kind != VALUE:
                        raise gr.Error(value, title="ZeroGPU worker error", print_exception=False)
                    try:
                        yield value
                    except GeneratorExit:
                        self.stop.set()
                        while self.receive()[0] == VALUE:
                            pass
                        raise

            return call

        return decorate

    def send(self, pipe, value):
        data = FORK.reducer.ForkingPickler.dumps(value)
        self.sizes.append(len(data))
        pipe.send_bytes(data)

    def receive(self):
        """Kind and value of the worker's next message."""
        try:
            data = self.arguments.recv_bytes()
        except EOFError:
            return ABORTED, "GPU task aborted"
        self.sizes.append(len(data))
        return FORK.reducer.ForkingPickler.loads(data)

    def work(self, task):
        """What the worker does."""
        self.arguments.close()
        while True:
            arguments = FORK.reducer.ForkingPickler.loads(self.theirs.recv_bytes())
            self.stop.clear()
            with ThreadPoolExecutor() as threads:
                threads.submit(self.iterate, task(*arguments)).result()
            self.send(self.theirs, (END, None))

    def iterate(self, values):
        try:
            for value in values:
                if self.stop.is_set():
                    values.close()
                    return
                self.send(self.theirs, (VALUE, value))
        except Exception as error:
            self.send(self.theirs, (ERROR, type(error).__name__))

    def close(self):
        if self.process:
            self.process.kill()
            self.process.join()
        self.arguments.close()
