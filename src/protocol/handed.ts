/**
 * How a host gets its descriptors where nothing hands them on from the agent to it: in a folder that its room shows it, there is a socket,
 * over which the agent sends its connection and its mailbox, and beside it the shim, which it needs to take them.
 */
/** What the folder has. */
export const HANDED = { socket: "agent.sock", shim: "librfaas.so" } as const;
/** As mailboxes need one: who may connect is who may have them. */
export const HANDED_NONCE = new Uint8Array(16);

const MARK = "handed:";

/** The word of the host's command line that names the shim. */
export const handedIn = (folder: string): string => MARK + folder;

/** The paths that such a word means; undefined for one that is the shim's own path. */
export function handedPaths(word: string): { socket: string; shim: string } | undefined {
  if (!word.startsWith(MARK)) return undefined;
  const folder = word.slice(MARK.length);
  return { socket: `${folder}/${HANDED.socket}`, shim: `${folder}/${HANDED.shim}` };
}
