"""From a bundle to graphs and engines that were checked: what `vla_ros export` is made of."""
