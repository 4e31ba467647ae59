# SPDX-License-Identifier: Apache-2.0
"""A validation, and a list of 10,000 objects page by page, of govmomi's simulator."""
import part_vsphere


def run(args, work):
    return part_vsphere.inside(args, work, "vsphere_choices.py")
