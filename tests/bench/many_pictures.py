"""Looks at a folder of pictures as a training does before it begins, twice, and prints what that took.

    python many_pictures.py ours|theirs FOLDER

"theirs" is run in sd-scripts' folder. The last line is JSON: looked_cpu is the process's processor seconds up
to the end of the first look, again_cpu what the second took more.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

sys.path[0] = str(Path.cwd())


def ours(folder: str) -> int:
    """The pictures' count, with this program."""
    from trainer.plan.inputs import read_inputs
    from trainer.settings import Settings

    values = {"train_data_dir": folder, "max_resolution": "512,512", "enable_bucket": True}
    return len(read_inputs(Settings.from_flat(values)).pictures.images)


def theirs(folder: str) -> int:
    """The pictures' count, with sd-scripts."""
    from library import config_util, train_util  # pyright: ignore[reportMissingImports]  # sd-scripts'
    from train_network import setup_parser  # pyright: ignore[reportMissingImports]  # sd-scripts'

    options = ["--train_data_dir", folder, "--resolution", "512,512", "--enable_bucket"]
    arguments = setup_parser().parse_args([*options, "--caption_extension", ".txt"])
    train_util.prepare_dataset_args(arguments, support_metadata=True)
    subsets = config_util.generate_dreambooth_subsets_config_by_subdirs(folder, None)
    sanitizer = config_util.ConfigSanitizer(True, True, False, True)
    generator = config_util.BlueprintGenerator(sanitizer)
    blueprint = generator.generate({"datasets": [{"subsets": subsets}]}, arguments)
    group, _ = config_util.generate_dataset_group_by_blueprint(blueprint.dataset_group)
    return group.num_train_images


def main() -> None:
    """Look twice and print."""
    import resource

    look = {"ours": ours, "theirs": theirs}[sys.argv[1]]
    counts = [look(sys.argv[2])]
    first = time.process_time()
    counts.append(look(sys.argv[2]))
    again = time.process_time() - first
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    found = {"looked_cpu": first, "again_cpu": again, "peak_gb": peak, "pictures": counts[0]}
    print(f"\n{json.dumps(found)}")


if __name__ == "__main__":
    main()
