/** Functions on values with results of any length, for the tests. */
import { Type, defineFunction } from "../../src/function/index.ts";

const input = Type.Object({
  mark: Type.Integer(),
  bytes: Type.Integer(),
  ms: Type.Optional(Type.Number()),
});
const result = ({ mark, bytes }: { mark: number; bytes: number }): Uint8Array =>
  new Uint8Array(bytes).fill(mark & 255);

export const blob = defineFunction({ input, output: Type.Uint8Array() }, result);

export const blobLater = defineFunction(
  { input, output: Type.Uint8Array() },
  async ({ ms = 0, ...asked }) => {
    await Bun.sleep(ms);
    return result(asked);
  },
);
