"""The data of a run on the node that it runs on: held against what its study began with, before it trains.

A command checks the data of its own machine. A cluster's other nodes read copies of their own, so every worker of a run
checks the files that it is about to read: all of them once a node, by their SHA-256; from then on by size, time of
change and inode of each file, which costs nothing (`trainers.verified`).
"""

import platform
from collections.abc import Mapping

from trainers.config import TrialConfig
from trainers.data.store import verify_prepared
from trainers.errors import DataChangedError, UserError
from trainers.run_data import data_of, pretrained_file
from trainers.verified import sha256_once


def check_data(config: TrialConfig, expected: Mapping[str, str]) -> None:
    """Hold this node's data and pretrained file against what the study began with.

    Args:
        config: of the run.
        expected: `data` and `test_set` as `PreparedData` names them, `pretrained_sha256`; what is not in it is not
            compared, and where it is empty nothing is checked.

    Raises:
        DataChangedError: a file was changed or replaced; names it, and the node.
    """
    if not expected:
        return
    try:
        data = data_of(config)
        verify_prepared(data.path, sha256_once)
        found = {"data": data.fingerprint, "test_set": data.test_set}
        for name in found.keys() & expected.keys():
            if found[name] != expected[name]:
                raise UserError(
                    f"the data in {data.path} are not those that the study began with ({name.replace('_', ' ')} was "
                    f"{expected[name][:12]}, is {found[name][:12]}); put those back"
                )
        file = pretrained_file(config)
        if file is not None and (then := expected.get("pretrained_sha256")):
            now = sha256_once(file)
            if now != then:
                raise UserError(
                    f"the pretrained file {file} is another one than the study began with (SHA-256 "
                    f"{then[:12]}... then, {now[:12]}... now); put that one back"
                )
    except (UserError, OSError) as error:
        text = f"on node {platform.node()}: {error}; no run is lost: the same command then goes on"
        raise DataChangedError(text) from None
