/** Inference in a worker: each has the model loaded, and has run it once, before the lease is granted. */
import { fileURLToPath } from "node:url";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { defineFunction, defineHooks, typedArray } from "rfaas/function";
import { FEATURES } from "./model.ts";

export const hooks = defineHooks({
  async init({ state, cores }) {
    // A file that is named so travels with the module.
    const model = fileURLToPath(new URL("./model.onnx", import.meta.url));
    const session = await InferenceSession.create(model, { intraOpNumThreads: cores });
    await probabilities(session, new Float32Array(FEATURES));
    state.set("session", session);
  },
  dispose: async ({ state }) => await (state.get("session") as InferenceSession).release(),
});

/** Takes a batch of points, 16 floats each, and returns the probabilities of the ten classes for each. */
export const classify = defineFunction(
  { input: typedArray("Float32Array"), output: typedArray("Float32Array") },
  async (points, { state }) => {
    if (points.length % FEATURES !== 0)
      throw new RangeError(`a point has ${FEATURES} floats; the batch has ${points.length}`);
    return await probabilities(state.get("session") as InferenceSession, points);
  },
);

async function probabilities(
  session: InferenceSession,
  points: Float32Array,
): Promise<Float32Array<ArrayBuffer>> {
  const shape = [points.length / FEATURES, FEATURES];
  const results = await session.run({ points: new Tensor("float32", points, shape) });
  return results["probabilities"]!.data as Float32Array<ArrayBuffer>;
}
