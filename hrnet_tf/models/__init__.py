"""The networks. Modules here import keras and numpy only, so that they run on every Keras backend."""
