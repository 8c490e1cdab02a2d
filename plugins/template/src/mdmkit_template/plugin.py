from mdmkit import Component, hookimpl


@hookimpl
def mdmkit_score():
    return [Component("neighbour", "mdmkit_template.scores:Neighbour", "confidence, more beside known tokens")]
