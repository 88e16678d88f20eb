"""Runs commands for the lab: one TCP connection each, its bytes the command's stdin and output.

The first line is a JSON array, the command's words. When the command has ended, a zero byte and the
exit status follow its output.
"""

import json
import socketserver
import subprocess

PORT = 7700


class Command(socketserver.StreamRequestHandler):
    # Unbuffered, so that what follows the first line is left for the command.
    rbufsize = 0

    def handle(self):
        words = json.loads(self.rfile.readline())
        stream = self.connection
        process = subprocess.run(words, stdin=stream, stdout=stream, stderr=subprocess.STDOUT)
        self.wfile.write(b"\0%d" % process.returncode)


class Agent(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    # A scenario may open many channels at once.
    request_queue_size = 128


if __name__ == "__main__":
    with Agent(("", PORT), Command) as agent:
        agent.serve_forever()
