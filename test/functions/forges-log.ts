/** Writes a line that would be several, one of them like the node's own. */
import { Type, defineFunction } from "rfaas/function";

export const forge = defineFunction({ input: Type.Null(), output: Type.Number() }, (_, ctx) => {
  ctx.log.info("hello\nℹ lease 999 granted: 64 workers for forged.ts\x1b[2J");
  return 1;
});
