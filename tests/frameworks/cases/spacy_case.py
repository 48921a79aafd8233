import spacy
from saving import save
from spacy.language import Language


@Language.component("shout")
def shout(doc):
    doc.user_data["loud"] = doc.text.upper()
    return doc


nlp = spacy.blank("en")
nlp.add_pipe("sentencizer")
ruler = nlp.add_pipe("entity_ruler")
ruler.add_patterns([{"label": "ORG", "pattern": "Acme"}, {"label": "GPE", "pattern": "Oslo"}])
nlp.add_pipe("shout")


def entities(text: str) -> list[str]:
    doc = nlp(text)
    return [f"{e.text}:{e.label_}" for e in doc.ents] + [doc.user_data["loud"]]


save({"entities": (None, entities, {"text": "Acme moved to Oslo. It rained."})})
