"""What the user asks for, as frozen values: experiments, sites, model cards, workloads, Docker options. Pure.

Everything inside the program is a plain frozen dataclass. pydantic stands only at the file boundary (`boundary`), where
it reads these same dataclasses, so that no field is declared twice.
"""
