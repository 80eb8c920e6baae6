"""Checks of the set-up, each with a name, what was seen, why it matters and a fix."""

from registry_tool.doctor.checks import CHECKS
from registry_tool.doctor.diagnosis import Diagnosis, DoctorReport
from registry_tool.doctor.run import examine
from registry_tool.doctor.surroundings import Surroundings

__all__ = ["CHECKS", "Diagnosis", "DoctorReport", "Surroundings", "examine"]
