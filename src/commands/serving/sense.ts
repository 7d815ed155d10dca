/** Options of a node that make sense alone, and not together. */
import { UsageError } from "../../base/errors.ts";
import { isEverywhere, parseAddress } from "../../control/address.ts";

interface Asked {
  advertise?: string | undefined;
  encrypt?: boolean | undefined;
  insecure?: boolean | undefined;
}

/** Throws {@link UsageError} where options contradict each other, or what they are for. */
export function requireSense({ advertise, encrypt, insecure }: Asked): void {
  if (advertise !== undefined && isEverywhere(parseAddress(advertise)))
    throw new UsageError(
      `--advertise ${advertise} leads clients to no machine; give an address of this one`,
    );
  if (encrypt && insecure)
    throw new UsageError(
      "--insecure lets the secrets travel in clear by which --encrypt encrypts the data of leases; leave one out",
    );
}
