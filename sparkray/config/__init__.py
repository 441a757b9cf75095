"""What the user asks for, as frozen values: experiments, sites, model cards, workloads, Docker options. Pure.

The tables that ship in this folder (`*.yaml`) are read once, at import: classes and constants are made from them.

Everything inside the program is a plain frozen dataclass. pydantic stands only at the file boundary (`boundary`), where
it reads these same dataclasses, so that no field is declared twice.
"""
