import getPort from 'get-port';

/** Below the range from which Linux takes the ports of outgoing connections, so that they stay free while a stack is down. */
const FIRST = 18_000;
const LAST = 31_999;

/**
 * Free ports on 127.0.0.1, all different.
 *
 * @throws Error when there are not enough
 */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  while (ports.length < count) {
    const candidates = Array.from({ length: 50 }, () => FIRST + Math.floor(Math.random() * (LAST - FIRST)));
    const port = await getPort({ host: '127.0.0.1', port: candidates.filter((each) => !ports.includes(each)) });
    if (!ports.includes(port)) ports.push(port);
  }
  return ports;
}
