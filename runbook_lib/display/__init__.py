"""What is shown: tables, the traffic map, the timeline of a shift, and the
panel with its sliders.
"""
