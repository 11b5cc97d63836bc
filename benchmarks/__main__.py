"""`make bench`: everything that must stay fast, one after the other."""

import argparse

from benchmarks import (
    admission,
    authorization,
    converse,
    counting,
    in_process,
    metering,
    observing,
    requests_per_second,
    resolving,
    routing,
    start,
    store_pages,
    streams,
    usage_queries,
    waiting,
)
from outcrop.server.build import version_text

BENCHMARKS = {
    "start": start.main,
    "in_process": in_process.main,
    "admission": admission.main,
    "authorization": authorization.main,
    "requests_per_second": requests_per_second.main,
    "converse": converse.main,
    "counting": counting.main,
    "streams": streams.main,
    "waiting": waiting.main,
    "routing": routing.main,
    "resolving": resolving.main,
    "store_pages": store_pages.main,
    "metering": metering.main,
    "observing": observing.main,
    "usage_queries": usage_queries.main,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", metavar="NAME", help="default: all")
    print(f"Outcrop {version_text()}")
    for name in parser.parse_args().only or BENCHMARKS:
        print(f"\n## {name}", flush=True)
        BENCHMARKS[name]()


if __name__ == "__main__":
    main()
