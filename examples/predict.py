"""Name what is on a picture, with a model that `python -m study export` wrote: python predict.py FOLDER PICTURE"""

import sys
from pathlib import Path

import torch

from trainers.data.loader import normalise
from trainers.data.pictures import pixels
from trainers.models.packed import load_packed

if len(sys.argv) != 3:
    sys.exit(__doc__)
folder, picture = sys.argv[1:]
model, about = load_packed(folder)
image = pixels(Path(picture).read_bytes(), about.channels, about.image_size, picture, about.grey_ranges)
inputs = normalise(torch.tensor(image).unsqueeze(0), about.mean, about.std, torch.float32)
probabilities = model(inputs).softmax(dim=1).squeeze(0)
for probability, index in zip(*probabilities.topk(min(5, len(about.class_names))), strict=True):
    print(f"{probability:.4f}  {about.class_names[index]}")
