"""Quotas: tiers, charges, leases and their stores."""
