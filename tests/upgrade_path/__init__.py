"""The upgrade of the operator from an earlier commit: releases that are in sync stay untouched."""
