"""Name what is on a picture, with a model that `python -m study export` wrote: python predict.py FOLDER PICTURE

With a patch, give the pretrained file that it is of, and the patch last: python predict.py FILE PICTURE PATCH"""

import sys
from pathlib import Path

import torch

from trainers.data.loader import normalise
from trainers.data.pictures import pixels
from trainers.models.packed import load_packed

if len(sys.argv) not in (3, 4):
    sys.exit(__doc__)
model, about = load_packed(sys.argv[1], *sys.argv[3:])
picture = Path(sys.argv[2])
image = pixels(picture.read_bytes(), about.channels, about.image_size, str(picture), about.grey_ranges)
inputs = normalise(torch.tensor(image).unsqueeze(0), about.mean, about.std, torch.float32)
probabilities = model(inputs).softmax(dim=1).squeeze(0)
for probability, index in zip(*probabilities.topk(min(5, len(about.class_names))), strict=True):
    print(f"{probability:.4f}  {about.class_names[index]}")
