"""Train the models of this folder on the running interpreter's standard library, and on nothing else.

    python models/train.py prepare --out out/models-data
    python models/train.py train main --data out/models-data --out models/main
    python models/train.py train llama --data out/models-data --out out/llama --steps 200 --device cpu
    python models/train.py cards

`prepare` takes about a minute. `train` writes a Hugging Face folder: weights in bf16, configuration, tokenizer,
`training.json` with every number, and the model card drawn from it. `cards` redraws the cards and the table in
models/README.md. A full `main` needs a GPU; `--steps 200` of any preset takes minutes on a CPU.
"""

import argparse
import os
import sys
from pathlib import Path

MODELS = Path(__file__).resolve().parent


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing here is downloaded
    options.command(options)
    return 0


def _prepare(options: argparse.Namespace) -> None:
    from llm_train.corpus import standard_library
    from llm_train.prepare import prepare

    manifest = prepare(options.source or standard_library(), options.out)
    for split, size in manifest["splits"].items():
        print(f"{split}: {size['files']:,} files, {size['bytes']:,} bytes, {size['tokens']:,} tokens")


def _train(options: argparse.Namespace) -> None:
    from llm_train.ship import train_and_ship

    results = train_and_ship(
        options.preset,
        options.data,
        options.out,
        steps=options.steps,
        tokens_per_step=options.tokens_per_step,
        device=options.device,
        seed=options.seed,
    )
    print(f"{options.out}: {results['parameters']:,} parameters, test perplexity {results['test']['perplexity']:.2f}")


def _cards(options: argparse.Namespace) -> None:
    from llm_train.card import write_cards

    write_cards(MODELS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    prepare = commands.add_parser("prepare", help="collect the corpus, train the tokenizer, write token arrays")
    prepare.add_argument("--out", type=Path, required=True, help="folder to write")
    prepare.add_argument("--source", type=Path, help="folder of Python source (default: the standard library)")
    prepare.set_defaults(command=_prepare)
    train = commands.add_parser("train", help="train one preset and write its folder")
    train.add_argument("preset", help="main, draft, llama, mistral, qwen2, qwen3, gemma or phi3")
    train.add_argument("--data", type=Path, required=True, help="folder that prepare wrote")
    train.add_argument("--out", type=Path, required=True, help="folder to write")
    train.add_argument("--steps", type=int, help="optimizer steps (default: the preset's)")
    train.add_argument("--tokens-per-step", type=int, help="tokens a step (default: the preset's; 4,096 on a CPU)")
    train.add_argument("--device", choices=("cuda", "cpu"), help="default: cuda where there is one")
    train.add_argument("--seed", type=int, default=0)
    train.set_defaults(command=_train)
    cards = commands.add_parser("cards", help="redraw the model cards and the table from each training.json")
    cards.set_defaults(command=_cards)
    return parser


if __name__ == "__main__":
    sys.exit(main())
