"""The same fit and predict on many machines: images in parts, each learned or judged by one of many workers.

A part's result lies in a folder of its own until all are there. What is made of them depends on how the
images are cut into parts, which their number alone decides, and on nothing that happens on the way: neither
on how many workers there are, nor on which of them does what, dies, or is asked again.
"""
