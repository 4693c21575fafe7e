import keras

model = keras.Sequential([
    keras.layers.Input((8, 8)),
    keras.layers.Rescaling(1 / 16),
    keras.layers.Flatten(),
    keras.layers.Dense(64, activation="relu"),
    keras.layers.Dense(10),
], name="digits")
with open("model.json", "w") as file:
    file.write(model.to_json())
