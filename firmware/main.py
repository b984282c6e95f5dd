from forerun_board.start import main

main()
