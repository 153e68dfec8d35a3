"""What several methods are made of: committees, the training of one network, likelihoods, distances, last layers.

May import what `methods` may, but no method. A newcomer adds here what a second method turns out to need.
"""
