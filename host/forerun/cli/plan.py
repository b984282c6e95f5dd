"""What is planned and what is forecast."""

from pathlib import Path
from typing import Annotated

import typer

from forerun.cli.shared import Json, SitePath, print_json

plan_app = typer.Typer(help="What the battery and the set are to do over the next hours.", invoke_without_command=True)
forecast_app = typer.Typer(help="How good the forecasts are.", no_args_is_help=True)


@plan_app.callback()
def plan(context: typer.Context, site: SitePath = Path("site.toml"), as_json: Json = False) -> None:
    """Make the plan of now from the site file and its journal, without a board."""
    if context.invoked_subcommand:
        return
    from forerun import operate

    document, _ = operate.make_plan(site)
    if as_json:
        print_json(document)
    else:
        operate.show_plan(document)


@plan_app.command("explain")
def plan_explain(
    site: SitePath = Path("site.toml"),
    out: Annotated[Path, typer.Option(help="File for the picture.")] = Path("out/plan.svg"),
    as_json: Json = False,
) -> None:
    """Say in words what the plan does and why, and draw it."""
    from forerun import console, operate

    document, sentences = operate.make_plan(site, out)
    if as_json:
        print_json({"plan": document, "sentences": sentences, "picture": str(out)})
    else:
        for sentence in (*sentences, f"picture: {out}"):
            console.tell(sentence, 2)


@forecast_app.command("backtest", short_help="Score the load forecast over the last week of files.")
def forecast_backtest(
    files: Annotated[list[Path], typer.Argument(help="CSV files: 5-minute means, oldest first, in the last column.")],
    as_json: Json = False,
) -> None:
    """Score the load forecast over the last week of each file, against persistence, yesterday and installed libraries;
    count the surges that it saw coming, and what announced jobs are worth."""
    from forerun.console import progress
    from forerun.forecast import backtest

    with progress(as_json, f"{len(files)} series") as tick:
        result = backtest.backtest(files, tick)
    if as_json:
        print_json(result)
    else:
        backtest.show(result)
