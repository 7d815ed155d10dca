/** What a program is advised to do about a loss: a lease that replaces what it loses is not over. */
import type { RfaasError } from "../../base/errors.ts";
import { reworded } from "./fate.ts";

/** What becomes of the workers that a part loses. */
export interface Losses {
  /** Hears each time that a worker is lost, as far as this client knows. */
  heard?: () => void;
  /** Whether others take the place of what is lost. */
  heals?: () => boolean;
}

const NEW_LEASE = "take a new lease";
const CALL_AGAIN = "call again: others take its place";

export const adviceFor = ({ heals }: Losses): string => (heals?.() ? CALL_AGAIN : NEW_LEASE);

/** The error with the advice that fits; those of connections do not know of leases that heal. */
export function advised<Loss extends RfaasError>(loss: Loss, losses: Losses): Loss {
  const message = loss.message.replace(/(?:then )?take a new lease$/, adviceFor(losses));
  return message === loss.message ? loss : reworded(loss, message);
}
