"""A study on a cluster, while this machine may be closed: what it names is sent, a job runs it, results come back.

`python -m study submit CLUSTER.yaml STUDY` (`study.cli.submit`) goes through these rooms:

| module | what it knows |
| --- | --- |
| `cluster_file` | the file that `ray up` takes, and what in it is still the example's |
| `bundle` | what a study names on this machine, and the same study file with the paths that it has there |
| `launcher` | Ray's launcher: run a program on the head node, send files, fetch files |
| `head` | the program on the head node: one job a study, begun or found at work, its log followed |
| `submission` | the order of it all |
"""
