"""`bin/trtllm-bench` of a simulated image: the package lies in `lib` beside `bin`."""

import pathlib
import sys

if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))
    from trtllm_double.main import main  # type: ignore[import-not-found]

    raise SystemExit(main(sys.argv[1:]))
