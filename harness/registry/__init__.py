"""From names to components: finding plugins, building what a table describes, saying what it depends on."""
