/** What a host has of its agent's from its start, where it inherits none of it. */
import { takeHanded } from "../../../ffi/descriptors.ts";
import { inheritShim } from "../../../ffi/library.ts";
import { HANDED_NONCE, handedPaths } from "../../protocol/handed.ts";

/** Opens the shim, and takes the connection to the agent and the mailbox. Throws `NativeError` where the agent does not hand them over. */
export function takeFromAgent(word: string): { control: number; mailbox: number } {
  const { shim, socket } = handedPaths(word)!;
  inheritShim(shim);
  const [control, mailbox] = takeHanded(socket, HANDED_NONCE, 2);
  return { control: control!, mailbox: mailbox! };
}
