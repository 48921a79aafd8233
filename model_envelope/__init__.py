from envelope import *  # noqa: F403  the name that the first talks import: `import model_envelope as me`
