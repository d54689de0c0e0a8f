import fs from 'node:fs';
import path from 'node:path';

/** The folder of this package: what is not compiled (docker/) is found from here. */
export function packageRoot(): string {
  for (let dir = __dirname; ; dir = path.dirname(dir)) {
    if (fs.existsSync(path.join(dir, 'package.json'))) return dir;
    if (dir === path.dirname(dir)) {
      throw new Error('the package.json of ch-zk-migrate is not found');
    }
  }
}
