"""davstore over MongoDB as real processes: clients, deaths, outages, scale."""
