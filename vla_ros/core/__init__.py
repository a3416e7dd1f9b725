"""The waist: typed values, protocols, errors, clocks, geometry. numpy and the standard library."""
