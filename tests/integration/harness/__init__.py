# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests are made of: processes, namespaces, the wire, the checkers. No tests here."""
